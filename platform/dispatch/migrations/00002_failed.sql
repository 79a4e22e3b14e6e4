-- +goose Up

-- What an operator lists: failures are few, finished rows are many.
CREATE INDEX dispatch_failed ON dispatch (finished_at) WHERE state = 'failed';

-- +goose Down
DROP INDEX dispatch_failed;
