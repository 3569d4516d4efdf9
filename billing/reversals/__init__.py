"""A payment is taken back, in part or whole, for good or for a while, and perhaps given back again.

Pure: `rules` (what is to be taken, how far, in credits and in money). With PostgreSQL: `applying` (a refund, a dispute
or a warning as it was read becomes the difference to what was posted), `telling` (what the activity feed says of it),
`refunding` (an operator's refund, stored before it is sent), `writing_off` (what is owed is given up), `freezing` (an
organization's credits are stopped), `seen` (what its agent may know), `standing` (a payment under its lock), `lots`.
"""
