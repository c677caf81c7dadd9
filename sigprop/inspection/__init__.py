"""Real models held against theory: what a module computes, sub-block by sub-block, beside what its
description predicts."""
