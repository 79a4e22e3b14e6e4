package delivery

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"millrace/platform/web"
)

type (
	orderPath struct {
		OrderKey string `path:"orderKey" maxLength:"64" pattern:"^[A-Za-z0-9-]+$" patternDescription:"letters, digits and hyphens" doc:"The key of an order of goods" example:"goods-17"`
	}

	stepInput struct {
		web.IfMatch
		ExpectedStatus state  `query:"expectedStatus" enum:"awaiting_address,prepared,shipped,delivered,failed,cancelled" doc:"Make the change only in this state; otherwise 409, with the present state in current"`
		OrderKey       string `path:"orderKey" maxLength:"64" pattern:"^[A-Za-z0-9-]+$" patternDescription:"letters, digits and hyphens" doc:"The key of an order of goods" example:"goods-17"`
	}

	newAddress struct {
		Name     string `json:"name" maxLength:"100" doc:"Who receives the parcel"`
		Phone    string `json:"phone" maxLength:"30" example:"+82 10-1234-5678"`
		Postcode string `json:"postcode" maxLength:"12" example:"04524"`
		Line1    string `json:"line1" maxLength:"200" example:"서울특별시 중구 세종대로 110"`
		Line2    string `json:"line2,omitempty" maxLength:"200"`
		City     string `json:"city,omitempty" maxLength:"100"`
		Country  string `json:"country,omitempty" maxLength:"2" doc:"ISO 3166-1, two letters; KR when left out" example:"KR"`
	}
	addressInput struct { // huma ignores embedded unexported types, so fields are repeated
		web.IfMatch
		ExpectedStatus state  `query:"expectedStatus" enum:"unpaid,awaiting_address,prepared,shipped,delivered,failed,cancelled" doc:"Make the change only in this state; otherwise 409, with the present state in current"`
		OrderKey       string `path:"orderKey" maxLength:"64" pattern:"^[A-Za-z0-9-]+$" patternDescription:"letters, digits and hyphens" doc:"The key of an order of goods" example:"goods-17"`
		Body           newAddress
	}
	addressView struct {
		OrderKey string `json:"orderKey"`
		State    state  `json:"state,omitempty" doc:"Of the delivery; left out while the order is not paid"`
	}
	addressOutput struct {
		ETag string `header:"ETag" doc:"Of the delivery and its address, for If-Match"`
		Body addressView
	}

	changeView struct {
		Action  action    `json:"action"`
		From    state     `json:"from,omitempty"`
		To      state     `json:"to"`
		Note    string    `json:"note,omitempty"`
		CauseID string    `json:"causeId,omitempty" doc:"The message that caused it; left out for a request"`
		At      time.Time `json:"at"`
	}
	deliveryView struct {
		DeliveryID     string       `json:"deliveryId"`
		OrderKey       string       `json:"orderKey"`
		UserID         string       `json:"userId"`
		State          state        `json:"state" enum:"awaiting_address,prepared,shipped,delivered,failed,cancelled"`
		Carrier        string       `json:"carrier,omitempty"`
		TrackingNumber string       `json:"trackingNumber,omitempty"`
		Reason         string       `json:"reason,omitempty" doc:"Of a failure or a cancellation"`
		CreatedAt      time.Time    `json:"createdAt"`
		UpdatedAt      time.Time    `json:"updatedAt"`
		Version        int64        `json:"version" doc:"Grows with every change of the delivery and its address; in quotes, it is the ETag"`
		History        []changeView `json:"history" doc:"What happened, oldest first: the newest 100 changes"`
		Truncated      []string     `json:"truncated,omitempty" doc:"Lists that have older entries than the 100 that are shown" enum:"history"`
	}
	deliveryOutput struct {
		ETag string `header:"ETag" doc:"Of the delivery and its address, for If-Match"`
		Body deliveryView
	}
)

// Routes registers the module's operations.
func (m *Module) Routes(api huma.API) {
	tags := []string{"delivery"}
	web.Handle(api, huma.Operation{
		OperationID: "set-address", Method: http.MethodPut, Path: "/deliveries/{orderKey}/address", Tags: tags,
		RejectUnknownQueryParameters: true,
		Summary:                      "Set the address of an order",
		Description: "Before or after the order is paid, and again until its parcel is shipped (409 from then on). " +
			"An address that no carrier serves fails a paid delivery that waits for it, and the money goes back.",
	}, m.setAddress)
	web.Handle(api, huma.Operation{
		OperationID: "get-delivery", Method: http.MethodGet, Path: "/deliveries/{orderKey}", Tags: tags,
		Summary: "Read a delivery with its history",
	}, m.getDelivery)
	web.Handle(api, huma.Operation{
		OperationID: "ship-delivery", Method: http.MethodPost, Path: "/deliveries/{orderKey}/ship", Tags: tags,
		RejectUnknownQueryParameters: true,
		Summary:                      "The parcel was given to its carrier", Description: "For the warehouse. A repeated request changes nothing.",
	}, m.shipDelivery)
	web.Handle(api, huma.Operation{
		OperationID: "deliver-delivery", Method: http.MethodPost, Path: "/deliveries/{orderKey}/deliver", Tags: tags,
		RejectUnknownQueryParameters: true,
		Summary:                      "The parcel reached its address", Description: "For the carrier. A repeated request changes nothing.",
	}, m.deliverDelivery)
}

func (m *Module) setAddress(ctx context.Context, in *addressInput) (*addressOutput, error) {
	d, version, err := m.service.setAddress(ctx, in.OrderKey, in.Expect(string(in.ExpectedStatus)), address(in.Body))
	if err != nil {
		return nil, err
	}
	return &addressOutput{ETag: web.ETag(version), Body: addressView{OrderKey: in.OrderKey, State: d.State}}, nil
}

func (m *Module) getDelivery(ctx context.Context, in *orderPath) (*deliveryOutput, error) {
	return m.read(ctx, in.OrderKey)
}

func (m *Module) shipDelivery(ctx context.Context, in *stepInput) (*deliveryOutput, error) {
	if err := m.service.ship(ctx, in.OrderKey, in.Expect(string(in.ExpectedStatus))); err != nil {
		return nil, err
	}
	return m.read(ctx, in.OrderKey)
}

func (m *Module) deliverDelivery(ctx context.Context, in *stepInput) (*deliveryOutput, error) {
	if err := m.service.deliver(ctx, in.OrderKey, in.Expect(string(in.ExpectedStatus))); err != nil {
		return nil, err
	}
	return m.read(ctx, in.OrderKey)
}

func (m *Module) read(ctx context.Context, orderKey string) (*deliveryOutput, error) {
	d, version, found, err := readDelivery(ctx, m.service.db, orderKey, web.MaxNested+1)
	if err != nil {
		return nil, err
	}
	history, more := web.Newest(found)
	view := deliveryView{
		DeliveryID: d.ID.String(), OrderKey: d.OrderKey, UserID: d.UserID, State: d.State,
		Carrier: string(d.Carrier), TrackingNumber: d.TrackingNumber, Reason: d.Reason,
		CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(), Version: version, History: make([]changeView, len(history)),
	}
	if more {
		view.Truncated = []string{"history"}
	}
	for i, c := range history {
		view.History[i] = changeView{Action: c.Action, From: c.From, To: c.To, Note: c.Note, At: c.At.UTC()}
		if c.CauseID != nil {
			view.History[i].CauseID = c.CauseID.String()
		}
	}
	return &deliveryOutput{ETag: web.ETag(version), Body: view}, nil
}
