"""`keepline chaos`: faults on real processes, many times over, unattended, and what was lost."""
