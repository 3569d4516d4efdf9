"""What payments on an EVM chain share: the token's signed transfers, and a node that is asked about them.

Pure, from below: `networks` says which chains and tokens there are and when money on them is final, `eip3009` hashes a
signed transfer and says who signed it, `calls` spells what a contract is called with, `answers` reads what a node says,
strictly, and `receipts` finds the transfer that a receipt settles. `rpc` sends one request to a node, and `chain` is
all that is asked of one: the only two that do I/O. `recursion` undoes what importing web3 does to the process.
"""
