"""The double-entry books. Knows no rail, no HTTP, no vendor, and imports nothing of ours.

Pure: `money`, `ids`, `chart` (the accounts), `operations` (what can be posted), `outcomes` (what posting answers),
`chain` (the hash over the journal). Rows: `tables`, spelled with `columns`. PostgreSQL: `posting` (the one way to
write), `lane` (its hot path: group commit), `failures` (of the database), `statements` (reading balances and
entries), `allowances` (what a spender may still spend), `verification/` (rebuilding projections from the journal).
"""
