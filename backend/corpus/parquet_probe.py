"""Reads a Parquet file to its end, in a process of its own: Arrow ends the process on some damaged files.

    python parquet_probe.py FILE

Exits 0 for a sound file, 1 with the reason on stderr for a damaged one; anything else is a crash.
"""

import sys

import pyarrow as pa
import pyarrow.parquet as pq


def main(path: str) -> None:
    """Read every batch and check what its bytes say of themselves."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=500):
                batch.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1])
