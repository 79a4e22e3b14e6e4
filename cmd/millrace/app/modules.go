package app

import (
	"millrace/config"
	"millrace/modules/consultation"
	"millrace/modules/dataplatform"
	"millrace/modules/delivery"
	"millrace/modules/inquiry"
	"millrace/modules/notification"
	"millrace/modules/payment"
	"millrace/platform/bus"
	"millrace/platform/mail"
	"millrace/platform/module"
)

// outside holds the addresses of outside systems, known once the servers listen.
type outside struct {
	gatewayURL      string // of the payment gateway
	callbackURL     string // to which the gateway sends callbacks
	simulatorSecret string // signs the simulator's callbacks; "" unless the simulator and payment run in this process
	smtpHost        string
	smtpPort        int
}

// modules is the only list of modules. db gives each module its own handle, or
// nil for one that is only declared here and hosted by another process.
func modules(cfg config.Config, db func(name string) *bus.DB, out outside) []module.Module {
	return []module.Module{
		payment.New(db("payment"), payment.Config{
			Provider: cfg.Payment.Gateway.Name, GatewayURL: out.gatewayURL, GatewayTimeout: cfg.Payment.Gateway.Timeout,
			CallbackURL: out.callbackURL, CallbackSecrets: callbackSecrets(cfg, out), StatusCheckAfter: cfg.Payment.StatusCheckAfter,
		}),
		delivery.New(db("delivery"), delivery.Config{
			AutoProgress:      cfg.Delivery.AutoProgress,
			AutoProgressAfter: cfg.Delivery.AutoProgressAfter,
		}),
		notification.New(db("notification"), notification.Config{
			Mail: mailOf(cfg.Mail, out), LimitWindow: cfg.Mail.Limit.Window,
			LimitReservations: cfg.Mail.Limit.Reservations, LimitOrders: cfg.Mail.Limit.Orders,
		}),
		consultation.New(db("consultation")),
		inquiry.New(db("inquiry")),
		dataplatform.New(db("dataplatform"), dataplatform.Config{
			Dir: dataPlatformDir(cfg), Own: cfg.DataPlatform.Dir == "", FlushRows: cfg.DataPlatform.FlushRows, FlushEvery: cfg.DataPlatform.FlushEvery,
		}),
	}
}

// callbackSecrets are the secrets that sign callbacks: the configured ones, or the
// simulator's, if it is in use. The simulator's secret must not be one of the
// configured ones: everybody on this machine can make the simulator sign
// something, and a real gateway's callbacks must not be forged that way.
func callbackSecrets(cfg config.Config, out outside) []string {
	switch {
	case cfg.Simulator() && out.simulatorSecret == "":
		return nil // payment is hosted elsewhere; an empty secret could be guessed
	case cfg.Simulator():
		return []string{out.simulatorSecret}
	}
	revealed := make([]string, len(cfg.Payment.Secrets))
	for i, secret := range cfg.Payment.Secrets {
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

// declared lists all modules without a database, for their declarations only.
func declared(cfg config.Config) []module.Module {
	return modules(cfg, func(string) *bus.DB { return nil }, outside{})
}

// Modules lists the names of all modules.
func Modules() []string {
	var names []string
	for _, m := range declared(config.Default()) {
		names = append(names, m.Name())
	}
	return names
}

// Messages are the zero values of all messages that modules publish or send, by
// name.
func Messages() map[string]any {
	all := map[string]any{}
	for _, m := range declared(config.Default()) {
		for _, event := range m.Publishes() {
			all[event.EventName()] = event
		}
		for _, command := range m.Sends() {
			all[command.CommandName()] = command
		}
	}
	return all
}

// Topology is the checked topology of all modules' messages.
func Topology() (*bus.Topology, error) { return topologyOf(declared(config.Default())) }

func topologyOf(modules []module.Module) (*bus.Topology, error) {
	all := make([]bus.Module, len(modules))
	for i, m := range modules {
		all[i] = m
	}
	return bus.NewTopology(all...)
}
