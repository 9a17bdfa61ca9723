-- SPDX-License-Identifier: Apache-2.0
-- The statements that the application's own database still needs. Asked in that database.
WITH needed(step, statement) AS (
    SELECT 1, 'REVOKE ALL ON SCHEMA public FROM PUBLIC'
    FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS acl
    WHERE nspname = 'public' AND acl.grantee = 0 GROUP BY nspname
    UNION ALL
    SELECT 2, 'CREATE EXTENSION ' || name -- the CRM searches without accents and by similarity
    FROM (VALUES ('pg_trgm'), ('unaccent')) AS wanted(name)
    WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = name)
)
SELECT statement || ';' FROM needed ORDER BY step, statement;
