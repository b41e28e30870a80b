-- What lives is looked for at every turn, what is over only by its id or its person: history costs the daily questions nothing.
DROP INDEX activations_by_deadline;
CREATE INDEX activations_live ON activations (deadline) WHERE phase <> 'over';
CREATE INDEX activations_live_of_person ON activations (person, asked_at, id) WHERE phase <> 'over';
