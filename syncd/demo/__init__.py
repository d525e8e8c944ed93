"""``syncd demo``: a sandbox of simulated vendors, ten stories of people who change their minds, and whether every side
agrees at the end.

The vendors run in a process of their own and syncd is driven by its command line, so calls and times are those of the real
thing. What is judged is read from the sandbox's control API alone: what each vendor holds, and who got a mail.
"""

from syncd.demo.tour import run

__all__ = ["run"]
