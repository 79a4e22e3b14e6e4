"""CloudEvents on Kafka, by other people's libraries (kafka-python and the CloudEvents SDK).

events_on_kafka.py read BROKERS TOPIC N          prints N events of a topic, a line of JSON each
events_on_kafka.py write BROKERS TOPIC EVENT...  writes events of JSON, {"key", "mode", "attributes", "data"}
"""

import json
import sys

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from kafka import KafkaConsumer, KafkaProducer


def read(brokers, topic, count):
    consumer = KafkaConsumer(
        topic, bootstrap_servers=brokers, auto_offset_reset="earliest", enable_auto_commit=False, consumer_timeout_ms=30_000
    )
    for _, record in zip(range(int(count)), consumer):
        event = from_kafka(KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value), JSONFormat())
        assert isinstance(event, CloudEvent), type(event)
        print(json.dumps({"attributes": event.get_attributes(), "data": event.get_data()}, default=lambda v: v.isoformat()))
    consumer.close()


def write(brokers, topic, *events):
    producer = KafkaProducer(bootstrap_servers=brokers)
    for text in events:
        said = json.loads(text)
        event = CloudEvent(attributes=said["attributes"], data=said["data"])
        to = {"binary": to_binary_event, "structured": to_structured_event}[said["mode"]]
        message = to(event, key_mapper=lambda _: said["key"])
        key = message.key.encode() if isinstance(message.key, str) else message.key
        producer.send(topic, key=key, value=message.value, headers=list(message.headers.items())).get(timeout=30)
    producer.close()


{"read": read, "write": write}[sys.argv[1]](sys.argv[2].split(","), *sys.argv[3:])
