"""Letters in: verify the signature over the raw bytes, store once, turn into facts and have billing apply them.

`signature` (pure) says whether a body was signed, `redaction` (pure) strikes the secrets out of one that is shown,
`inbox` stores letters and claims them in batches, `letters` is what operators do with them, `forgetting` takes the
persons out of them, `measures` is how they stand, `paging` fetches what was not brought, `processing` turns a letter
into facts and applies them, `routes` is the thin HTTP door, `tables` the rows.
"""
