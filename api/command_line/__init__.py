"""What the commands print and do; `api/cli.py` is the door.

console.py      where output goes: one console for results, one for complaints
attached.py     a command at work on a database
tables.py       lists as tables, and ids that were typed
operators.py    the commands of operators, as they are typed
letters.py      list, show (without secrets), retry, park, ignore and forget the letters in the inbox
payments.py     attempts, what is owed, refunds, stopping an organization, and who did what
people.py       what agents said, ending the ownership of an organization, forgetting a contact
receipts.py     show and check receipts, and the keys that sign them
keys.py         create, list, rotate and revoke operator keys
books.py        a book as a balanced table, and the verification of all books
backup.py       the whole database into one file, and back into an empty one
"""
