"""What every test and every re-executed notebook runs under."""

import os

# Before torch is imported here or in a notebook's kernel, which inherits this environment.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("PYTHONHASHSEED", "0")
