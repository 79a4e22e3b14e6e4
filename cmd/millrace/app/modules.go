package app

import (
	"context"
	"io/fs"
	"path/filepath"

	"github.com/danielgtaylor/huma/v2"

	"millrace/config"
	"millrace/modules/consultation"
	"millrace/modules/dataplatform"
	"millrace/modules/delivery"
	"millrace/modules/inquiry"
	"millrace/modules/notification"
	"millrace/modules/payment"
	"millrace/platform/bus"
	"millrace/platform/mail"
)

// module is what a module's door offers.
type module interface {
	bus.Module
	Migrations() fs.FS
	Routes(api huma.API)
	Run(ctx context.Context) error
}

// outside is where the outside is reached, known once the servers listen.
type outside struct {
	gatewayURL  string // of the payment gateway
	callbackURL string // where it reaches us
	smtpHost    string
	smtpPort    int
}

// modules is the one list of modules. db gives each its own handle; nil for
// one that is only declared here, and hosted by another process.
func modules(cfg config.Config, db func(name string) *bus.DB, out outside) []module {
	files := cfg.DataPlatform.Dir
	if files == "" {
		files = filepath.Join(cfg.DataDir, "dataplatform")
	}
	return []module{
		payment.New(db("payment"), payment.Config{
			Provider: cfg.Payment.Gateway.Name, GatewayURL: out.gatewayURL, GatewayTimeout: cfg.Payment.Gateway.Timeout,
			CallbackURL: out.callbackURL, CallbackSecrets: secrets(cfg.Payment.Secrets), ChaseAfter: cfg.Payment.ChaseAfter,
		}),
		delivery.New(db("delivery"), delivery.Config{
			AutoProgress:      cfg.Delivery.AutoProgress,
			AutoProgressAfter: cfg.Delivery.AutoProgressAfter,
		}),
		notification.New(db("notification"), notification.Config{Mail: mailOf(cfg.Mail, out)}),
		consultation.New(db("consultation"), consultation.Config{}),
		inquiry.New(db("inquiry"), inquiry.Config{}),
		dataplatform.New(db("dataplatform"), dataplatform.Config{
			Dir: files, FlushRows: cfg.DataPlatform.FlushRows, FlushEvery: cfg.DataPlatform.FlushEvery,
		}),
	}
}

func secrets(configured []config.Secret) []string {
	revealed := make([]string, len(configured))
	for i, secret := range configured {
		revealed[i] = secret.Reveal()
	}
	return revealed
}

func mailOf(cfg config.Mail, out outside) mail.Config {
	tls := cfg.SMTP.TLS
	if tls == "auto" {
		tls = mail.TLSAuto
	}
	return mail.Config{
		Host: out.smtpHost, Port: out.smtpPort, User: cfg.SMTP.User, Password: cfg.SMTP.Password.Reveal(),
		From: cfg.From, TLS: tls,
	}
}

// declared lists the modules for what they declare, without any database.
func declared(cfg config.Config) []module {
	return modules(cfg, func(string) *bus.DB { return nil }, outside{})
}

// Modules lists the names of all modules that there are.
func Modules() []string {
	var names []string
	for _, m := range declared(config.Default()) {
		names = append(names, m.Name())
	}
	return names
}

// Topology is the product's checked map of messages.
func Topology() (*bus.Topology, error) { return topologyOf(declared(config.Default())) }

func topologyOf(modules []module) (*bus.Topology, error) {
	all := make([]bus.Module, len(modules))
	for i, m := range modules {
		all[i] = m
	}
	return bus.NewTopology(all...)
}
