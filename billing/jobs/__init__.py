"""Metered jobs: priced, held, carried out by an executor, and charged what they really cost, or nothing.

`ordering` stores a job with its hold in one transaction, or what it would cost (a plan); `reading` finds jobs;
`turning` asks the executor, again and again until the deadline, and `crew` does so for many at once; `ending` writes
what became of a job with the capture or the end of its hold, in one transaction; `telling` writes what the activity
feed says of it. A job's row is locked before its book.
"""
