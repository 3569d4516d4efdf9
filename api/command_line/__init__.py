"""What the commands print and do; `api/cli.py` is the door.

console.py      where output goes: one console for results, one for complaints
letters.py      list, show (without secrets) and retry the letters in the inbox
keys.py         create, list, rotate and revoke operator keys
books.py        a book as a balanced table, and the verification of all books
"""
