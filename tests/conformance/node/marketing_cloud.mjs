// Drives the Marketing Cloud simulator with sfmc-sdk, and prints what it saw as one JSON object.
// Usage: node marketing_cloud.mjs http://127.0.0.1:PORT
//
// The SDK accepts only https hosts of the vendor for logging in, so that one host is rewritten in its HTTP layer. Where
// it goes afterwards comes from the token answer, as with the real vendor.
import SDK from 'sfmc-sdk';
import { axiosInstance } from 'sfmc-sdk/util';

const simulator = process.argv[2];
const authUrl = 'https://mc000000000000000000000000aa.auth.marketingcloudapis.com/';
axiosInstance.interceptors.request.use((config) => {
    if (config.baseURL === authUrl) {
        config.baseURL = simulator;
    }
    return config;
});

const seen = {};
const refreshes = [];
const sdk = new SDK(
    { client_id: 'mc-client', client_secret: 'mc-secret', account_id: 12345, auth_url: authUrl },
    { requestAttempts: 2, eventHandlers: { onRefresh: () => refreshes.push(1) } }
);

async function failing(name, promise) {
    try {
        await promise;
        seen[name] = null;
    } catch (error) {
        seen[name] = { message: error.message, code: error.code, results: error.json?.Results };
    }
}

// REST: rows
seen.accepted = await sdk.rest.put('/data/v1/async/dataextensions/key:OFFERS%26ALL/rows', {
    items: [
        { SubscriberKey: 'K1', EmailAddress: 'one@mail.example', FirstName: 'Ann & <Bo' },
        { SubscriberKey: 'K2', EmailAddress: 'not an address' },
    ],
});
do {
    seen.status = await sdk.rest.get(`/data/v1/async/${seen.accepted.requestId}/status`);
    await new Promise((resolve) => setTimeout(resolve, 20));
} while (seen.status.status.requestStatus !== 'Complete');
seen.results = await sdk.rest.getBulk(`/data/v1/async/${seen.accepted.requestId}/results`);
seen.rowset = await sdk.rest.getBulk('/data/v1/customobjectdata/key/OFFERS%26ALL/rowset', 50);
seen.forgotten = await sdk.rest.get('/data/v1/async/11111111-2222-3333-4444-555555555555/status');

// SOAP: subscribers and their lists
seen.created = await sdk.soap.create('Subscriber', {
    SubscriberKey: 'K1',
    EmailAddress: 'one@mail.example',
    Lists: { ID: 4711, Status: 'Active' },
});
await failing('again', sdk.soap.create('Subscriber', { SubscriberKey: 'K1', EmailAddress: 'one@mail.example' }));
seen.upserted = await sdk.soap.create(
    'Subscriber',
    { SubscriberKey: 'K2', EmailAddress: 'two@mail.example' },
    { options: { SaveOptions: { SaveOption: { PropertyName: '*', SaveAction: 'UpdateAdd' } } } }
);
seen.updated = await sdk.soap.update('Subscriber', {
    SubscriberKey: 'K1',
    Lists: { ID: 4711, Status: 'Unsubscribed', Action: 'update' },
});
await failing('missing', sdk.soap.update('Subscriber', { SubscriberKey: 'nobody', Status: 'Unsubscribed' }));
seen.members = await sdk.soap.retrieve('ListSubscriber', ['SubscriberKey', 'ListID', 'Status', 'ModifiedDate'], {
    filter: {
        leftOperand: { leftOperand: 'ListID', operator: 'equals', rightOperand: 4711 },
        operator: 'AND',
        rightOperand: { leftOperand: 'Status', operator: 'equals', rightOperand: 'Unsubscribed' },
    },
});
seen.everyone = await sdk.soap.retrieveBulk('Subscriber', ['SubscriberKey', 'Status', 'UnsubscribedDate'], {
    options: { BatchSize: 1 },
});
seen.extension = await sdk.soap.retrieve('DataExtension', [
    'ObjectID', 'CustomerKey', 'SendableDataExtensionField.Name', 'SendableSubscriberField.Name',
]);
seen.unsubscribed = await sdk.soap.execute('LogUnsubEvent', [
    { Name: 'SubscriberKey', Value: 'K2' },
    { Name: 'Reason', Value: 'asked on the phone' },
]);
seen.after = await sdk.soap.retrieve('Subscriber', ['SubscriberKey', 'Status'], {
    filter: { leftOperand: 'SubscriberKey', operator: 'equals', rightOperand: 'K2' },
});
seen.described = await sdk.soap.describe('Subscriber');
await failing('unknown', sdk.soap.retrieve('Deliveryprofile', ['Name']));
seen.deletedRow = await sdk.soap.delete('DataExtensionObject', {
    CustomerKey: 'OFFERS&ALL',
    Keys: { Key: { Name: 'SubscriberKey', Value: 'K1' } },
});
seen.cleared = await sdk.soap.perform('DataExtension', 'ClearData', { CustomerKey: 'OFFERS&ALL' });

// a token that dies in mid-run is renewed by the SDK itself
refreshes.length = 0;
await fetch(`${simulator}/expire`, { method: 'POST' });
seen.afterExpiry = await sdk.soap.retrieve('List', ['ID', 'ListName', 'ListClassification']);
seen.refreshes = refreshes.length;

console.log(JSON.stringify(seen));
