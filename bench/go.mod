module github.com/evertoken/evertoken/bench

go 1.25.0

require (
	github.com/evertoken/evertoken v0.0.0
	github.com/evertoken/evertoken/storage/postgresstore v0.0.0
	github.com/evertoken/evertoken/storage/redisstore v0.0.0
	github.com/jackc/pgx/v5 v5.12.0
	github.com/redis/go-redis/v9 v9.22.0
)

require (
	github.com/benbjohnson/clock v1.3.5 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/gofrs/flock v0.13.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)

replace (
	github.com/evertoken/evertoken => ..
	github.com/evertoken/evertoken/storage/postgresstore => ../storage/postgresstore
	github.com/evertoken/evertoken/storage/redisstore => ../storage/redisstore
)
