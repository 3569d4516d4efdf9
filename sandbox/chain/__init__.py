"""A chain on this machine with a USDC on it, for trying and testing payments over x402. No real money.

    python -m sandbox.chain --folder DIR [--port N] [--die-with-parent]      until SIGTERM or SIGINT
    python -m sandbox.chain --folder DIR --new-wallet                        of the chain that runs there
    python -m sandbox.chain --fetch                                          get what it needs, once

It is anvil, from npm, under the chain id of Base Sepolia, because unmodified clients know that chain and its USDC. The
token is our own contract (`contract/UsdcLike.sol`) at the official address. Blocks, keys and balances are kept in the
folder, so that a service finds at its next start what it was paid; `chain.json` there says where the node answers,
whose key is whose, and what a wallet needs to be paid from. Every key in it is worthless: this is nobody's money.

    packages       anvil from npm, pinned by package-lock.json, installed once into the user's cache
    node           starting it, asking it, ending it
    token          the contract at its address, and dollars out of nothing
    keys           who is who, remembered in the folder
    __main__       the command line
    contract/      source and compiled artefacts, and how they were compiled

Exit status 3: this machine cannot have such a chain; the last line of stderr says why. Imports nothing of ours.
"""
