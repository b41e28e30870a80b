-- Whether certificates of grants open accounts there. NULL: the host has not said yet.
ALTER TABLE hosts ADD COLUMN ssh TEXT;
