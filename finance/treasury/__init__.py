"""The treasury on chain against the books: what came in and went out there, and what an operator books of it.

`reading` keeps what the chain says, up to a block that is final · `booked` what the books say of the same transfers ·
`pairing` finds which is which (pure) · `comparing` what does not fit · `booking` the sale of USDC and the purchase of
ether, which only a person knows of · `said_again` the same reference once more.
"""
