-- A comparison of a district's flags that is not finished, so that another message and another process go on with it: how far it is,
-- and what Campus has shown so far, each as MessagePack, zstd. Gone when it is over.
CREATE TABLE flag_comparison (
    district text PRIMARY KEY REFERENCES district,
    progress blob NOT NULL,
    shown    blob NOT NULL
) STRICT;
