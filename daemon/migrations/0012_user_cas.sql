-- Since when hosts are told to trust a replaced key no more. NULL: they trust it.
ALTER TABLE user_cas ADD COLUMN over_at BIGINT;
