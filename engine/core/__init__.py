"""The engine proper: sequences, the scheduler, the step and its thread, without a socket in sight."""
