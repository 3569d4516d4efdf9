"""Books that close: revenue, what others say of our money, months, exports, receipts. It changes no fact of billing's.

Pure: `periods` (UTC months), `lot_values` (what became of the money that a lot was sold for), `receipt_signing`.
Rows: `tables` (revenue, periods, watermarks), `statement_tables` (what others say). With PostgreSQL: `folding` (the
journal becomes what each day did to each lot), `recognizing` (revenue, once per book and day), `roll_forward` (of the
deferred revenue), `proving` (days, revenue and books agree), `watermarks` (up to where the journal counts), `receipts`.
Packages: `reconciling` (Stripe and the bank, exceptions and what is done about them), `treasury` (the chain),
`closing` (a month is closed and sealed), `exporting` (files for finance).
"""
