"""Their lines against ours: what the provider, the bank and the chain say, compared, and what does not fit.

Pure: `found` what a comparison finds · `files` CSV files, `stripe_report`, `bank_statement` · `pairing` what the books
have at the bank and its lines · `comparing` two sides become a finding · `adjusting` what a resolved exception posts.
With the database: `keeping` what others told, once · `provider` what its API says · `reading` both sides · `at_bank`
those of the bank · `clearing` the clearing account against what the provider still has · `listing` the exceptions ·
`running` one run · `resolving` what people decide · `proving` that what was posted for them is what they say.
"""
