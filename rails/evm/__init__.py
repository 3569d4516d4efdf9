"""What payments on an EVM chain share: the token's signed transfers, and a node that is asked about them.

Pure, from below: `networks` says which chains and tokens there are and when money on them is final, `eip3009` hashes a
signed transfer and says who signed it, `eip191` does so for a text, `calls` spells what a contract is called with,
`answers` reads what a node says, strictly, `receipts` finds the transfer that a receipt settles, and `gas` signs the
transactions that we send. `rpc` sends one request to a node (`failures`: how that fails), `log_search` goes through a
chain's logs with a bound, and `chain` is all that is asked of a node: only `rpc` and `chain` do I/O. `recursion`
undoes what importing web3 does to the process.
"""
