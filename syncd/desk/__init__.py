"""What people ask of syncd: every verb of the command line that needs the state, and what it takes to answer.

Read ``verbs`` first: one method for each. A cycle needs nothing of this room.
"""
