"""What is kept for a time: the rules, what of it is due, and the job that deletes it."""
