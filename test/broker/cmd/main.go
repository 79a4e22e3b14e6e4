// This program runs a Kafka cluster for a developer and prints its addresses. Ctrl-C
// ends it and removes its data.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"millrace/platform/postgres/devserver"
	"millrace/test/broker"
)

func main() {
	devserver.DieWithGoRun()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o broker.Options
	flag.IntVar(&o.Nodes, "nodes", 1, "brokers: 1 or 3")
	flag.IntVar(&o.Partitions, "partitions", 8, "of a topic that is created without saying how many")
	flag.BoolVar(&o.Secure, "secure", false, "listeners with TLS and SASL too")
	flag.Parse()
	fmt.Fprintf(os.Stderr, "Kafka %s is starting; the first time its jars are fetched (31 MB).\n", broker.Version)
	c, err := broker.Open(ctx, o)
	if err != nil {
		return err
	}
	fmt.Println("brokers        ", strings.Join(c.Brokers(), ","))
	if o.Secure {
		fmt.Println("TLS            ", strings.Join(c.TLS(), ","))
		fmt.Println("SASL           ", strings.Join(c.SASL(), ","))
		fmt.Println("SASL over TLS  ", strings.Join(c.SASLTLS(), ","))
		fmt.Println("authority      ", c.CA())
		fmt.Println("user, password ", broker.User, broker.Password)
	}
	fmt.Fprintln(os.Stderr, "Ctrl-C ends it and removes its data.")
	<-ctx.Done()
	return c.Close()
}
