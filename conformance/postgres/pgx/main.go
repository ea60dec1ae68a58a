// pgx, unmodified: runs one case against the server the environment names and prints what came out, a line a
// fact. Without a case it prints the driver's version and the cases' names.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var ctx = context.Background()

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func open() *pgx.Conn {
	config, err := pgx.ParseConfig("")
	must(err)
	conn, err := pgx.ConnectConfig(ctx, config)
	must(err)
	return conn
}

func failed(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return "failed " + server.Code
	}
	if err == nil {
		return "it did not fail"
	}
	return "failed otherwise"
}

func values(conn *pgx.Conn, mode pgx.QueryExecMode, sql string, args ...any) {
	rows, err := conn.Query(ctx, sql, append([]any{mode}, args...)...)
	must(err)
	for rows.Next() {
		row, err := rows.Values()
		must(err)
		fmt.Println(row...)
	}
	must(rows.Err())
}

type named struct {
	name string
	run  func()
}

var cases = []named{
	{"every way of executing a query", func() {
		conn := open()
		defer conn.Close(ctx)
		for _, mode := range []pgx.QueryExecMode{
			pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
			pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
		} {
			for id := 1; id < 4; id++ {
				values(conn, mode, "select id, name, tags from items where id = $1", id)
			}
		}
	}},
	{"a batch is a pipeline", func() {
		conn := open()
		defer conn.Close(ctx)
		tx, err := conn.Begin(ctx)
		must(err)
		batch := &pgx.Batch{}
		for id := 800; id < 850; id++ {
			batch.Queue("insert into ledger values ($1, $2)", id, 1)
		}
		batch.Queue("select count(*) from ledger where id >= 800")
		results := tx.SendBatch(ctx, batch)
		for id := 800; id < 850; id++ {
			_, err := results.Exec()
			must(err)
		}
		var count int
		must(results.QueryRow().Scan(&count))
		must(results.Close())
		fmt.Println(count)
		must(tx.Rollback(ctx))
	}},
	{"a batch with a denied statement: nothing of it commits", func() {
		conn := open()
		defer conn.Close(ctx)
		batch := &pgx.Batch{}
		batch.Queue("insert into ledger values (860, 1)")
		batch.Queue("select * from forbidden")
		batch.Queue("insert into ledger values (861, 1)")
		results := conn.SendBatch(ctx, batch)
		_, err := results.Exec()
		fmt.Println(err == nil || failed(err) == "failed 42501")
		_, err = results.Exec()
		fmt.Println(failed(err))
		results.Close()
		values(conn, pgx.QueryExecModeCacheStatement, "select count(*) from ledger where id in (860, 861)")
	}},
	{"pipeline mode with a Sync in the middle", func() {
		conn := open()
		defer conn.Close(ctx)
		pipeline := conn.PgConn().StartPipeline(ctx)
		pipeline.SendQueryParams("select 1", nil, nil, nil, nil)
		pipeline.SendQueryParams("select 1/0", nil, nil, nil, nil)
		pipeline.SendQueryParams("select 2", nil, nil, nil, nil)
		must(pipeline.Sync())
		pipeline.SendQueryParams("select 3", nil, nil, nil, nil)
		must(pipeline.Sync())
		for {
			results, err := pipeline.GetResults()
			if err != nil {
				fmt.Println(failed(err))
				continue
			}
			if results == nil {
				break
			}
			switch one := results.(type) {
			case *pgconn.ResultReader:
				read := one.Read()
				if read.Err != nil {
					fmt.Println(failed(read.Err))
				} else {
					fmt.Println(string(read.Rows[0][0]))
				}
			case *pgconn.PipelineSync:
				fmt.Println("sync")
			}
			if _, last := results.(*pgconn.PipelineSync); last && !conn.PgConn().IsBusy() {
				break
			}
		}
		pipeline.Close()
	}},
	{"COPY in, by the binary protocol, and out", func() {
		conn := open()
		defer conn.Close(ctx)
		tx, err := conn.Begin(ctx)
		must(err)
		rows := [][]any{{870, 1}, {871, 2}}
		count, err := tx.CopyFrom(ctx, pgx.Identifier{"ledger"}, []string{"id", "amount"}, pgx.CopyFromRows(rows))
		must(err)
		fmt.Println(count)
		var out strings.Builder
		tag, err := conn.PgConn().CopyTo(ctx, &out, "copy (select id, amount from ledger where id >= 870 order by id) to stdout")
		must(err)
		fmt.Println(tag, out.String())
		must(tx.Rollback(ctx))
	}},
	{"a context that ends cancels, and the connection is closed by it", func() {
		conn := open()
		short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		defer stop()
		_, err := conn.Exec(short, "select pg_sleep(30)")
		fmt.Println(err != nil, conn.IsClosed())
		other := open()
		defer other.Close(ctx)
		go func() {
			time.Sleep(300 * time.Millisecond)
			other.PgConn().CancelRequest(ctx)
		}()
		_, err = other.Exec(ctx, "select pg_sleep(30)")
		fmt.Println(failed(err))
		values(other, pgx.QueryExecModeCacheStatement, "select 1")
	}},
	{"large objects are refused cleanly", func() {
		conn := open()
		defer conn.Close(ctx)
		tx, err := conn.Begin(ctx)
		must(err)
		objects := tx.LargeObjects()
		_, err = objects.Open(ctx, 4711, pgx.LargeObjectModeRead)
		fmt.Println(err != nil)
		must(tx.Rollback(ctx))
		values(conn, pgx.QueryExecModeCacheStatement, "select 1")
	}},
}

func main() {
	if len(os.Args) < 2 {
		info, _ := debug.ReadBuildInfo()
		for _, module := range info.Deps {
			if module.Path == "github.com/jackc/pgx/v5" {
				fmt.Println(module.Version)
			}
		}
		for _, one := range cases {
			fmt.Println(one.name)
		}
		return
	}
	for _, one := range cases {
		if one.name == os.Args[1] {
			one.run()
		}
	}
}
