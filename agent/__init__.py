"""The LVLM policy, its adapters, and the updates."""
