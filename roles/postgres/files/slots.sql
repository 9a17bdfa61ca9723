-- SPDX-License-Identifier: Apache-2.0
-- The primary keeps its log for each follower, and for the backup host, until that has it; a standby keeps it for nobody. Asked in database postgres.
WITH follower AS (SELECT name::text FROM unnest(string_to_array(:'slots', ',')) AS name WHERE name <> '')
SELECT format('SELECT pg_create_physical_replication_slot(%L, true);', follower.name) FROM follower
WHERE NOT pg_is_in_recovery() AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = follower.name)
UNION ALL
SELECT format('SELECT pg_drop_replication_slot(%L);', slot_name) FROM pg_replication_slots JOIN follower ON slot_name = follower.name
WHERE pg_is_in_recovery() AND NOT active;
