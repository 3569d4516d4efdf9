"""Proving the books: every projection is rebuilt from the journal and compared, and the chain is followed.

Pure: `journal` (rows as they are read), `rebuilt` (a book, its lots, holds and spenders), `effects` (what each kind of
operation does to them), `replay` (one operation after the other), `comparison` (with what is stored). PostgreSQL:
`stored` (the journal as one stream), `walk` (through it, book by book).
"""

from ledger.verification.comparison import Mismatch
from ledger.verification.walk import Progress, Published, Verified, verify, verify_book

__all__ = ["Mismatch", "Progress", "Published", "Verified", "verify", "verify_book"]
