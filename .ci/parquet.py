"""Reads the Parquet files below a directory with DuckDB and with pandas, and checks that both see the same."""

import pathlib
import sys

import duckdb
import pandas

files = sorted(str(f) for f in pathlib.Path(sys.argv[1]).rglob("*.parquet"))
assert files, f"no Parquet file below {sys.argv[1]}"
rows, distinct, types = duckdb.sql(
    f"SELECT count(*), count(DISTINCT message_id), count(DISTINCT type) FROM read_parquet({files!r})"
).fetchall()[0]
frame = pandas.concat(pandas.read_parquet(f) for f in files)
assert rows == distinct == len(frame) == frame["message_id"].nunique(), (rows, distinct, len(frame))
assert types == frame["type"].nunique() > 5, types
print(f"{len(files)} files, {rows} rows, {types} types")
