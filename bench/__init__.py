"""Every claim about speed, re-runnable: `make bench` for all rows, `python -m bench.<row>` for one.

Rows: `spends_50_books` `spends_10_books` `hot_book` `zipf` `single_spends` `batches` `batches_with_purchases`
`open_lots` `http_spends` `x402_purchases` `bytes_per_spend` `growth` `verifying` `exporting` `grants` (the first two
share `against_pgledger`).

`rounds`: contenders in turn · `measuring/`: what every row is measured with · `contenders/`: who is measured ·
`serving/`: the row over HTTP · `results/`: what the last run found.
"""
