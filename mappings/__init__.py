"""Mappings: what an admin writes about people, topics and segments, read, checked and turned into SQL.

``loader.load_mapping`` reads the files, ``checks`` finds what does not fit, ``expressions.compile_expression`` turns
one expression into SQL. Nothing here reads a database or a network; the state package owns every statement, this
package emits scalar expressions only. Importing it is cheap: the parsers are imported when first used.
"""
