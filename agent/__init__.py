"""The LVLM policy, its adapters, and the updates."""

import os

# Read once, when torch loads its OpenMP: threads that wait must sleep. Spinning, two of them beside a busy process (a
# world's worker, say) make the model several times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
