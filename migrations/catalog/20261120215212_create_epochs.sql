-- Fencing epochs: a number drawn stays drawn, also when its transaction does not commit.
CREATE SEQUENCE "epoch" AS bigint;
