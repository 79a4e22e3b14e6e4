-- How far a carrier's partitions were received. Search path: the module's schema.

-- +goose Up
CREATE TABLE received (
    topic text NOT NULL,
    partition int NOT NULL,
    incarnation text NOT NULL,
    "offset" bigint NOT NULL,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE received IS 'Up to where the carrier''s partitions are in this database: everything below "offset" was kept. It moves in the transaction that keeps what arrived, so that a restored backup says where to go on.';

-- +goose Down
DROP TABLE received;
