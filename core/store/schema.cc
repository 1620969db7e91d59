#include "schema.h"

namespace portolan {

const char* const kSchemaTables1 = R"sql(
-- A service under one plugin. A name that changes its plugin gets a second row.
CREATE TABLE service (
  id     INTEGER PRIMARY KEY,
  name   TEXT NOT NULL,
  plugin TEXT NOT NULL,
  UNIQUE (name, plugin)
);

-- What a service did in one period of 60, 3600 or 86400 seconds (`resolution`), beginning at `start` (Unix seconds,
-- a multiple of the resolution). Histograms in the form of HistogramSnapshot::serialize; the quantiles beside them
-- are worked out when the row is written, since plain SQL cannot.
CREATE TABLE service_period (
  resolution     INTEGER NOT NULL,
  start          INTEGER NOT NULL,
  service_id     INTEGER NOT NULL REFERENCES service (id),
  sessions       INTEGER NOT NULL,
  messages       INTEGER NOT NULL,
  bytes_in       INTEGER NOT NULL,
  bytes_out      INTEGER NOT NULL,
  refused        INTEGER NOT NULL,
  failed         INTEGER NOT NULL,
  hook_calls     INTEGER NOT NULL,
  hook_failures  INTEGER NOT NULL,
  open_peak      INTEGER NOT NULL,
  open_last      INTEGER NOT NULL,
  latency        BLOB,
  latency_p50_us REAL,
  latency_p90_us REAL,
  latency_p99_us REAL,
  size           BLOB,
  size_p50       INTEGER,
  size_p90       INTEGER,
  size_p99       INTEGER,
  UNIQUE (resolution, start, service_id)
);

-- Refusals by reason (kind 'refusal') and the plugin's own counters (kind 'plugin'): those that are not zero.
CREATE TABLE service_period_counter (
  resolution INTEGER NOT NULL,
  start      INTEGER NOT NULL,
  service_id INTEGER NOT NULL REFERENCES service (id),
  kind       TEXT NOT NULL,
  name       TEXT NOT NULL,
  value      INTEGER NOT NULL,
  PRIMARY KEY (resolution, start, service_id, kind, name)
) WITHOUT ROWID;

CREATE TABLE session (
  id         INTEGER PRIMARY KEY,
  session    INTEGER NOT NULL,
  service    TEXT NOT NULL,
  peer       TEXT NOT NULL,
  transport  TEXT NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms   INTEGER NOT NULL,
  bytes_in   INTEGER NOT NULL,
  bytes_out  INTEGER NOT NULL,
  messages   INTEGER NOT NULL,
  ended_by   TEXT NOT NULL
);
CREATE INDEX session_by_end ON session (ended_ms);

CREATE TABLE event (
  id       INTEGER PRIMARY KEY,
  first_ms INTEGER NOT NULL,
  last_ms  INTEGER NOT NULL,
  kind     TEXT NOT NULL,
  service  TEXT NOT NULL,
  client   TEXT NOT NULL,
  detail   TEXT NOT NULL,
  count    INTEGER NOT NULL
);
CREATE INDEX event_by_time ON event (last_ms);

-- How far the writer's own work has come, in Unix seconds.
--   rolled_up_to  minutes that begin before it are in their hours and days
--   minutes_from  minutes that begin before it may be gone: their hours hold what they held
--   hours_from    likewise, hours and days
CREATE TABLE progress (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO progress (name, value) VALUES ('rolled_up_to', 0), ('minutes_from', 0), ('hours_from', 0);
)sql";

const char* const kSchemaTables2 = R"sql(
-- Who is turned away until when; `service` is empty when a person said so. Rows that are over stay until they are pruned.
CREATE TABLE ban (
  address    TEXT PRIMARY KEY,
  since_ms   INTEGER NOT NULL,
  until_ms   INTEGER NOT NULL,
  reason     TEXT NOT NULL,
  service    TEXT NOT NULL,
  violations INTEGER NOT NULL
) WITHOUT ROWID;
)sql";

const char* const kSchemaTables3 = R"sql(
-- What scripts keep. `value` is an integer, a real or text, and stays what it is; `expires` is 0 for never.
CREATE TABLE script_values (
  service TEXT NOT NULL,
  key     TEXT NOT NULL,
  value   ANY NOT NULL,
  changed INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  PRIMARY KEY (service, key)
) WITHOUT ROWID, STRICT;

-- Messages that services have kept. The ids ascend in the order of keeping; the index finds the last ones of a room.
CREATE TABLE chat_messages (
  id      INTEGER PRIMARY KEY,
  ts      INTEGER NOT NULL,
  service TEXT NOT NULL,
  room    TEXT NOT NULL,
  sender  TEXT NOT NULL,
  kind    TEXT NOT NULL,
  text    TEXT NOT NULL
) STRICT;
CREATE INDEX chat_messages_by_room ON chat_messages (service, room, id);
)sql";

const char* const kSchemaTables4 = R"sql(
-- Files that came or went, one row for each and each attempt at it that came to an end.
CREATE TABLE transfer (
  id          INTEGER PRIMARY KEY,
  time_ms     INTEGER NOT NULL,
  service     TEXT NOT NULL,
  peer        TEXT NOT NULL,
  direction   TEXT NOT NULL,
  name        TEXT NOT NULL,
  bytes       INTEGER NOT NULL,
  new_bytes   INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  sha256      TEXT NOT NULL,
  outcome     TEXT NOT NULL,
  detail      TEXT NOT NULL
) STRICT;
CREATE INDEX transfer_by_time ON transfer (time_ms);
)sql";

const char* const kSchemaViews = R"sql(
CREATE VIEW service_minutes AS
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', p.start, 'unixepoch') AS time, p.start AS unix_time,
       s.name AS service, s.plugin AS plugin,
       p.sessions, p.messages, p.bytes_in, p.bytes_out, p.refused, p.failed, p.hook_calls, p.hook_failures,
       p.open_peak, p.open_last,
       p.latency_p50_us, p.latency_p90_us, p.latency_p99_us, p.size_p50, p.size_p90, p.size_p99
  FROM service_period AS p JOIN service AS s ON s.id = p.service_id
 WHERE p.resolution = 60;

CREATE VIEW service_hours AS
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', p.start, 'unixepoch') AS time, p.start AS unix_time,
       s.name AS service, s.plugin AS plugin,
       p.sessions, p.messages, p.bytes_in, p.bytes_out, p.refused, p.failed, p.hook_calls, p.hook_failures,
       p.open_peak, p.open_last,
       p.latency_p50_us, p.latency_p90_us, p.latency_p99_us, p.size_p50, p.size_p90, p.size_p99
  FROM service_period AS p JOIN service AS s ON s.id = p.service_id
 WHERE p.resolution = 3600;

CREATE VIEW service_days AS
SELECT strftime('%Y-%m-%d', p.start, 'unixepoch') AS time, p.start AS unix_time,
       s.name AS service, s.plugin AS plugin,
       p.sessions, p.messages, p.bytes_in, p.bytes_out, p.refused, p.failed, p.hook_calls, p.hook_failures,
       p.open_peak, p.open_last,
       p.latency_p50_us, p.latency_p90_us, p.latency_p99_us, p.size_p50, p.size_p90, p.size_p99
  FROM service_period AS p JOIN service AS s ON s.id = p.service_id
 WHERE p.resolution = 86400;

-- All that is kept, nothing twice: minutes where they are still there, before them hours, before those days.
CREATE VIEW finest_period AS
SELECT p.*
  FROM service_period AS p
 WHERE p.resolution IN (60, 3600, 86400)
   AND p.start >= CASE p.resolution
         WHEN 60 THEN (SELECT max(value) FROM progress WHERE name IN ('minutes_from', 'hours_from'))
         WHEN 3600 THEN (SELECT value FROM progress WHERE name = 'hours_from')
         ELSE p.start END
   AND p.start < CASE p.resolution
         WHEN 60 THEN p.start + 1
         WHEN 3600 THEN (SELECT value FROM progress WHERE name = 'minutes_from')
         ELSE (SELECT value FROM progress WHERE name = 'hours_from') END;

CREATE VIEW service_totals AS
SELECT s.name AS service, s.plugin AS plugin,
       strftime('%Y-%m-%dT%H:%M:%SZ', min(p.start), 'unixepoch') AS since, min(p.start) AS since_unix_time,
       sum(p.sessions) AS sessions, sum(p.messages) AS messages,
       sum(p.bytes_in) AS bytes_in, sum(p.bytes_out) AS bytes_out,
       sum(p.refused) AS refused, sum(p.failed) AS failed,
       sum(p.hook_calls) AS hook_calls, sum(p.hook_failures) AS hook_failures,
       max(p.open_peak) AS open_peak
  FROM finest_period AS p JOIN service AS s ON s.id = p.service_id
 GROUP BY s.name, s.plugin;

CREATE VIEW refusals AS
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', c.start, 'unixepoch') AS time, c.start AS unix_time, c.resolution AS seconds,
       s.name AS service, s.plugin AS plugin, c.name AS reason, c.value AS count
  FROM finest_period AS p
  JOIN service_period_counter AS c
    ON c.resolution = p.resolution AND c.start = p.start AND c.service_id = p.service_id AND c.kind = 'refusal'
  JOIN service AS s ON s.id = p.service_id;

CREATE VIEW plugin_counters AS
SELECT strftime('%Y-%m-%dT%H:%M:%SZ', c.start, 'unixepoch') AS time, c.start AS unix_time, c.resolution AS seconds,
       s.name AS service, s.plugin AS plugin, c.name AS counter, c.value AS value
  FROM finest_period AS p
  JOIN service_period_counter AS c
    ON c.resolution = p.resolution AND c.start = p.start AND c.service_id = p.service_id AND c.kind = 'plugin'
  JOIN service AS s ON s.id = p.service_id;

CREATE VIEW sessions AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', started_ms / 1000.0, 'unixepoch') AS started,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended_ms / 1000.0, 'unixepoch') AS ended,
       started_ms / 1000.0 AS started_unix_time, ended_ms / 1000.0 AS ended_unix_time,
       (ended_ms - started_ms) / 1000.0 AS seconds,
       session, service, peer, transport, messages, bytes_in, bytes_out, ended_by
  FROM session;

CREATE VIEW events AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', first_ms / 1000.0, 'unixepoch') AS time,
       first_ms / 1000.0 AS unix_time,
       strftime('%Y-%m-%dT%H:%M:%fZ', last_ms / 1000.0, 'unixepoch') AS last_time,
       kind, service, client, detail, count
  FROM event;

CREATE VIEW bans AS
SELECT address,
       strftime('%Y-%m-%dT%H:%M:%SZ', since_ms / 1000, 'unixepoch') AS since,
       strftime('%Y-%m-%dT%H:%M:%SZ', until_ms / 1000, 'unixepoch') AS until,
       since_ms / 1000.0 AS since_unix_time, until_ms / 1000.0 AS until_unix_time,
       reason, service, violations
  FROM ban
 WHERE until_ms > unixepoch() * 1000;

CREATE VIEW script_data AS
SELECT service, key, value,
       strftime('%Y-%m-%dT%H:%M:%SZ', changed / 1000, 'unixepoch') AS changed, changed / 1000.0 AS changed_unix_time,
       CASE expires WHEN 0 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%SZ', expires / 1000, 'unixepoch') END AS expires,
       CASE expires WHEN 0 THEN NULL ELSE expires / 1000.0 END AS expires_unix_time
  FROM script_values
 WHERE expires = 0 OR expires > unixepoch() * 1000;

CREATE VIEW chat_log AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ts / 1000.0, 'unixepoch') AS time, ts / 1000.0 AS unix_time,
       service, room, sender, kind, text, id
  FROM chat_messages;

CREATE VIEW transfers AS
SELECT strftime('%Y-%m-%dT%H:%M:%fZ', time_ms / 1000.0, 'unixepoch') AS time, time_ms / 1000.0 AS unix_time,
       service, peer, direction, name, bytes, new_bytes, duration_ms / 1000.0 AS seconds, sha256, outcome, detail
  FROM transfer;
)sql";

}  // namespace portolan
