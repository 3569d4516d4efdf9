"""The routes of the API: thin functions that read a request, call billing, and hand the result to a view.

`health`, `people` (sign-up, tokens, agents), `claims` (and feedback), `owners` (pages of humans), `catalog` (and the
balance), `quotes`, `purchases`, `receipts`, `spending`, `batches`, `holds`, `jobs` (ordering, and what was made),
`caps`, `ledger` (reading the books, and grants), `activity`, `metrics` (Prometheus), `document` (OpenAPI). A route
with `agents_only` serves an agent with a token, one with `allowed` operators too; `describe` is what a route says
of itself.
"""
