"""Letters in: verify the signature over the raw bytes, store once, turn into facts and have billing apply them.

`signature` (pure) says whether a body was signed, `inbox` stores letters and claims them in batches, `processing`
turns a letter into facts and applies them, `routes` is the thin HTTP door, `tables` the rows.
"""
