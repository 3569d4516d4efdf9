"""What finance takes away: a month under a watermark, as files that are the same bytes whenever they are made again.

`marks` a seal, or a mark that is taken · `reading` the operations under it, streamed from one snapshot · `cells` how
things are written (pure) · `counting` rows and control totals · `journal` one row a transfer · `trial_balance` ·
`revenue_rows` the roll-forward · `receipt_rows` · `statement` credits of one organization · `reconciliation_rows` ·
`beancount` for an auditor of another house · `account_maps`, `accounting`, `maps/` for accounting packages · `heads` ·
`files` all of them by name · `manifest` what was written (pure) · `writing` into a folder or a stream.
"""
