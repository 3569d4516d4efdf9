"""Who is measured: `ours`, the opponents' way (`pgledger`, `naive`), and figures that are only quoted (`tigerbeetle`).

Each contender has a database of its own on the same server, and checks afterwards that what it wrote is right.
"""
