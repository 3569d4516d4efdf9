"""What every row is measured with.

`load`: closed loops of clients and which book they pick · `latency`: percentiles and buckets of seconds · `claims`: a
ratio against its goals · `machine`: where and on what it ran · `report`: the table and the JSON · `drawing`: the
histogram · `stage`: the embedded PostgreSQL and its databases · `running`: one row from the command line.
"""
