"""What answers look like: frozen values in, plain dictionaries of the public contract out. Pure.

`plain` spells times and money, `catalog` methods and packs, `native` what only the native x402 method has,
`discovery` where indexes of x402 find it, `people` agents and tokens, `claims` humans and feedback, `quotes` a quote,
`quota` the balance and how to top it up, `actions` what the payer must do, `purchases` a purchase and its status,
`happenings` the activity, `spending` spends, holds and what a refused one is told, `ledger` the books, `caps` what an
agent may spend, `jobs` a job and `job_refusals` what an order is told that has none, `receipts` the keys of receipts.
"""
