"""Reads the file that `emcache follow` keeps. Needs nothing but Python's own sqlite3.

python3 read_users.py caches/users.db 18
"""

import sqlite3
import sys
from pathlib import Path

path, age = sys.argv[1], int(sys.argv[2])
# mode=ro: a reader must not write. Open the file anew from time to time: after a changed shape or a reset the name
# leads to another file.
database = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
for row in database.execute("SELECT id, email, age FROM users WHERE age >= ? ORDER BY id", (age,)):
    print(*row)
database.close()
