"""What a journal in PostgreSQL consists of, and the statements that change it. All names begin with `gz_`.

The fence and what it guards are one statement, with `FOR SHARE` on the rows of the shards: without the lock a stale
write slips in between another owner's claim and our look at the row.
"""

FORMAT = 2
"""2 is 1 with records that may be compressed."""

TABLES = """
CREATE TABLE gz_meta (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE gz_member (owner text PRIMARY KEY, url text NOT NULL, until timestamptz NOT NULL);
CREATE TABLE gz_shard (number int PRIMARY KEY, epoch bigint NOT NULL, owner text NOT NULL) WITH (fillfactor = 50);
CREATE TABLE gz_stream (
    name text COLLATE "C" PRIMARY KEY, kind text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL, active smallint NOT NULL, created_at bigint NOT NULL, updated_at bigint NOT NULL,
    due_at bigint, expires_at bigint, counts bytea NOT NULL, last bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX gz_stream_by_age ON gz_stream (kind, created_at, name);
CREATE INDEX gz_stream_by_key ON gz_stream (kind, key, created_at, name);
CREATE INDEX gz_stream_by_status ON gz_stream (kind, status, created_at, name);
CREATE INDEX gz_stream_active ON gz_stream (kind, created_at, name) WHERE active = 1;
CREATE TABLE gz_record (
    stream text COLLATE "C" NOT NULL, first bigint NOT NULL, last bigint NOT NULL, count bigint NOT NULL,
    crc bigint NOT NULL, body bytea NOT NULL, PRIMARY KEY (stream, first)
);
CREATE TABLE gz_blob (
    name text COLLATE "C" PRIMARY KEY, size bigint NOT NULL, present bigint NOT NULL, whole boolean NOT NULL,
    used_at bigint NOT NULL
);
CREATE TABLE gz_blob_chunk (
    name text COLLATE "C" NOT NULL, start bigint NOT NULL, crc bigint NOT NULL, body bytea NOT NULL,
    PRIMARY KEY (name, start)
);
ALTER TABLE gz_blob_chunk ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE gz_blob_ref (
    stream text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, PRIMARY KEY (stream, name)
);
CREATE INDEX gz_blob_ref_by_name ON gz_blob_ref (name);
"""

# $1 owner, $2 shards, $3 their epochs, $4 whether a stream is anybody's, for which being a member is enough
_FENCE = """
fence AS MATERIALIZED (
    SELECT number FROM gz_shard JOIN unnest($2::int[], $3::bigint[]) AS f (n, e) ON number = f.n AND epoch = f.e
    WHERE owner = $1 ORDER BY number FOR SHARE OF gz_shard
), held AS MATERIALIZED (
    SELECT (SELECT count(*) FROM fence) = cardinality($2::int[])
        AND (NOT $4 OR EXISTS (SELECT FROM gz_member WHERE owner = $1)) AS ok
)"""

APPEND = f"""
WITH {_FENCE}, conflict AS MATERIALIZED (
    SELECT n.name, coalesce(s.last, 0) AS last, n.seq FROM unnest($5::text[], $6::bigint[]) AS n (name, seq)
    LEFT JOIN gz_stream s ON s.name = n.name WHERE coalesce(s.last, 0) <> n.seq - 1 LIMIT 1
), good AS MATERIALIZED (
    SELECT FROM held WHERE ok AND NOT EXISTS (SELECT FROM conflict)
), streams AS (
    INSERT INTO gz_stream (name, kind, key, status, active, created_at, updated_at, due_at, expires_at, counts, last)
    SELECT t.* FROM good, unnest(
        $5::text[], $7::text[], $8::text[], $9::text[], $10::smallint[], $11::bigint[], $12::bigint[], $13::bigint[],
        $14::bigint[], $15::bytea[], $16::bigint[]
    ) AS t
    ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, key = excluded.key, status = excluded.status,
        active = excluded.active, created_at = excluded.created_at, updated_at = excluded.updated_at,
        due_at = excluded.due_at, expires_at = excluded.expires_at, counts = excluded.counts, last = excluded.last
), records AS (
    INSERT INTO gz_record (stream, first, last, count, crc, body)
    SELECT t.* FROM good, unnest($17::text[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bytea[])
    AS t
), refs AS (
    INSERT INTO gz_blob_ref (stream, name) SELECT t.* FROM good, unnest($23::text[], $24::text[]) AS t
    ON CONFLICT DO NOTHING
)
SELECT ok, (SELECT format('%s ends at %s: cannot append %s', name, last, seq) FROM conflict) AS conflict FROM held
"""

DELETE = f"""
WITH {_FENCE}, records AS (
    DELETE FROM gz_record WHERE stream = ANY ($5::text[]) AND (SELECT ok FROM held)
), refs AS (
    DELETE FROM gz_blob_ref WHERE stream = ANY ($5::text[]) AND (SELECT ok FROM held)
), streams AS (
    DELETE FROM gz_stream WHERE name = ANY ($5::text[]) AND (SELECT ok FROM held)
)
SELECT ok FROM held
"""

# `end` is where the stream ends; without records there is one row all the same.
# A page ends with the record that reaches $4 bytes; the size of a long value is known without reading it.
READ = """
SELECT s.last AS end, page.last, count, crc, body FROM gz_stream s LEFT JOIN (
    SELECT *, sum(octet_length(body)) OVER (ORDER BY first) - octet_length(body) AS bytes_before FROM (
        SELECT * FROM gz_record WHERE stream = $1 AND first >= coalesce(
            (SELECT max(first) FROM gz_record WHERE stream = $1 AND first <= $2::bigint + 1), 0)
        AND first <= $2::bigint + $3::bigint ORDER BY first
    ) AS candidate
) AS page ON bytes_before < $4 WHERE name = $1 ORDER BY first
"""

SHORT = """
SELECT r.stream, r.last, r.count, r.crc, r.body FROM gz_stream s
JOIN gz_record r ON r.stream = s.name AND r.last = s.last
WHERE s.name = ANY ($1::text[]) AND r.first = 1 AND octet_length(r.body) <= $2
"""

LATE = "DELETE FROM gz_member WHERE until < clock_timestamp() AND owner <> $1"
DEPOSE = """
UPDATE gz_shard SET owner = '', epoch = epoch + 1 WHERE owner <> '' AND owner NOT IN (SELECT owner FROM gz_member)
"""
JOIN = """
INSERT INTO gz_member VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (owner) DO UPDATE SET until = excluded.until,
    url = CASE WHEN excluded.url = '' THEN gz_member.url ELSE excluded.url END
"""
TAKE = """
UPDATE gz_shard SET owner = $1, epoch = epoch + 1 WHERE number = ANY ($2::int[]) AND owner = ''
"""
HELD = "SELECT number, epoch FROM gz_shard WHERE owner = $1 AND number = ANY ($2::int[])"
RENEW = "UPDATE gz_member SET until = clock_timestamp() + make_interval(secs => $2) WHERE owner = $1"
LET_GO = "UPDATE gz_shard SET owner = '' WHERE owner = $1 AND number = ANY ($2::int[])"
LEAVE = "UPDATE gz_shard SET owner = '' WHERE owner = $1"
OWNERS = """
SELECT m.owner, m.url, array_agg(s.number) FILTER (WHERE s.number IS NOT NULL) AS numbers, array_agg(s.epoch) AS epochs
FROM gz_member m LEFT JOIN gz_shard s ON s.owner = m.owner WHERE m.until > clock_timestamp()
GROUP BY m.owner, m.url ORDER BY m.owner COLLATE "C"
"""
