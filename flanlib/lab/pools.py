"""The ordinary words of the lab's general conversation, by list. Every fifth of a list is reserved for held out."""

POOLS: dict[str, tuple[str, ...]] = {key: tuple(text.replace("\n", " ").split()) for key, text in {
    "first": """Anna Omar Lucía Jonas Mei Pedro Fatima Erik Zoë Ravi Clara Hugo Nora Tomás Ingrid Samuel Aisha Luca
        Hélène Marek Yuki Leo Björn Sara Dmitri Eva Noah Chloé Karim Greta Felix Amina Søren Rosa Ivan Maya Otto Inês
        André Lena Viktor Nina José Hana Oscar Elif Théo Ruth Paulo Jasmin Emil Vera Kwame Alma Émile Tara Henrik""",
    "town": """Lyon Oslo Porto Krakow Bergen Seville Zürich Turin Leeds Ghent Malmö Nantes Vienna Riga Córdoba Bilbao
        Cork Aarhus Genoa Basel Dresden Florence Tallinn Utrecht Köln Dover Granada Lille Munich Nice Odense Prague
        Rouen Salzburg Tampere Uppsala Venice Warsaw York Zagreb Besançon Brno Cádiz Dublin Esbjerg Geneva Helsinki
        Innsbruck León Madrid Naples Orléans Pisa Rome Siena Toulouse Vilnius Bath Plzeň Lisbon""".replace("ň", "n"),
    "country": """Norway Spain Peru Kenya Japan Canada Italy Egypt Chile India Poland Greece Brazil Ghana Vietnam
        Iceland Mexico Turkey Portugal Morocco Finland Austria Nepal Cuba Ireland Senegal Malta Latvia Ecuador""",
    "language": """French Dutch Spanish Arabic Polish Greek Hindi Danish Korean Turkish Welsh Italian Swahili Czech
        Japanese Finnish German Catalan Basque Icelandic Hungarian Thai Estonian Norwegian Portuguese""",
    "colour": """red blue green yellow orange purple brown black white grey pink silver golden violet turquoise
        crimson beige navy scarlet amber olive teal ivory maroon lilac""",
    "material": """wood iron glass copper silk paper leather clay stone wool brass cotton steel wax marble rubber
        linen bamboo tin cork velvet silver plastic felt bronze""",
    "job": """baker teacher nurse farmer pilot painter dentist sailor tailor gardener lawyer carpenter singer engineer
        plumber librarian barber waiter judge miner potter writer cook driver fisherman doctor weaver actor banker
        builder photographer translator mechanic florist journalist""",
    "animal": """dog cat horse parrot goat rabbit donkey owl fox otter turtle goose bear wolf camel pony hamster falcon
        seal lizard sheep crow hedgehog penguin squirrel tiger zebra monkey duck badger elephant deer swan panda""",
    "food": """bread cheese rice apples soup honey noodles beans plums fish olives carrots pears dumplings cherries
        pancakes potatoes onions grapes lentils mushrooms walnuts yoghurt chocolate pasta melons spinach figs butter
        lemons salad peaches corn almonds biscuits""",
    "thing": """clock boat lamp violin bicycle kettle umbrella camera mirror ladder carpet knife radio guitar wallet
        suitcase piano watch chair table tent jacket helmet drum basket candle printer vase telescope coat saddle
        hammer bell sofa scooter ring phone blanket statue kite oven bucket fridge toaster wheel scarf harp desk laptop
        necklace""",
    "hobby": """chess fishing dancing painting swimming cycling sewing climbing gardening singing skating reading rowing
        cooking hiking pottery archery sailing knitting tennis running juggling football astronomy origami""",
    "plant": """oak rose fern pine tulip maple cactus willow lily birch ivy palm elm daisy cedar orchid poppy lavender
        bamboo violet thistle moss clover jasmine holly""",
    "shop": """bakery bookshop pharmacy café florist butcher hardware-shop toy-shop bank library cinema museum gym
        laundry theatre restaurant hotel garage dairy tea-room zoo gallery market school hospital""",
    "adjective": """small old quiet bright heavy tall young clever strange gentle brave tired wide cold shiny narrow
        round proud lazy soft quick dusty warm hungry famous plain lonely sharp cheerful sleepy curious wooden muddy
        silent friendly broken empty fresh golden tiny""",
    "place": """garden kitchen harbour forest market tower hall meadow cellar attic station theatre village office
        valley castle barn courtyard library pantry orchard mill garage chapel school palace bathroom tunnel
        stable lighthouse workshop park windmill church""",
    "verb": """sleeps waits sings works hides rests dances reads studies whispers plays stays eats listens dreams walks
        paints laughs trains jumps stands hums runs sits smiles""",
    "stem": """lantern river cloud marble copper willow anchor comet saffron pebble harbour meadow ember falcon thistle
        beacon orbit velvet maple granite ribbon compass cinder lotus quartz signal timber canyon feather prism raven
        tulip summit hollow mirror nectar otter pine quill shadow tango umber violet walnut zephyr acorn basil coral
        delta echo flint grove hazel iris jade kestrel linen mango noble opal""",
    "suffix": """finder desk lookup service checker guide helper counter keeper box tool office bot index planner reader
        clerk table list board line point scout watch log drawer shelf machine agent centre book map store""",
    "noun": """account acid address adventure agreement alley angle ankle apron arch argument arm army arrow article
        ash atom audience aunt autumn award axe baby bacon badge bag ball ballad balloon band barrel barrier
        base bat bath bay beach bead beam beard bed beetle belief belt bench bill biography bird birthday blade
        blossom body bolt bone bonus border bottle boundary bowl brain branch brick bride broom brush bubble bug
        bulb bullet bundle bunker bus bush button cabbage cabin cable cage cake campaign candy cannon canvas cap
        cape captain car card career cargo cart case cash catalogue cave ceiling cell cement century chain chalk
        challenge channel chapter charm chart cheek chemical chest chicken chief chimney chin choice circle
        circus citizen cliff climate cloth clown club coach cocoa coffee coin collar college column comedy
        committee concert contest contract corner costume cottage couch council couple course court cousin
        cradle crane cream crew cricket crime crisis crowd crown crystal cube cup cure curtain curve cycle dam
        dawn deal debt deck decree degree desert design devil dial diamond diary diet dinner dirt ditch dock
        doll dome door dot dragon drain drama dream dress drill drink drop duke dust duty eagle ear earth edge
        editor egg elbow election elevator empire energy engine enemy entry envelope episode error estate event
        exam exit eye fabric faith fan fashion father fault fee fence fiction field fig figure finger fire flag
        flame flash flavour fleet flood floor flour flower flute fog folk foot force forehead forge fork formula
        fort fountain frame frog front frost fruit fuel fur gallon game gang gap gas gate gear ghost giant gift
        glove glue goal grain grass grave gravy groove guard guest gulf gun habit hail hair half hand harvest
        hat hawk hay hazard head heart heat heel hen herb herd hill hinge hint hole holiday hood hook horn hose
        house hunt hut ice idea image inch income ink insect item jar jaw jelly jet jewel joint joke journey
        juice jungle jury key kid king kiss kit knee knot lace lamb lane lap lawn layer leaf leg lesson letter
        lever lid light limb link lion lip load loan lobby lock lodge loop lorry loss lot love luck lunch lung
        magnet maid mail mammal manner mark mask mast mate maze meal meat member memory menu message metal
        method mile milk mind mine mint minute mist mixture model moment money moon morning motor mouse mouth
        movement mud mug muscle myth nail napkin nation neck needle nest net nickel niece night nose note nut
        oath ocean odour offer oil omen onion opera opinion organ outfit owner ox pack pad page pail pain paint
        pair pan parade parent part party patch path patient pattern paw peak pedal pen pepper permit pest petal
        picture pie piece pig pile pill pillow pin pipe pirate pit plan plane planet plank plate plot plough
        pocket poem poet poison pole pond pool port post pot powder prayer present prince prison prize profit
        project proof prophet puddle pump puppet purse puzzle quarrel quartet queen question queue quiz race
        rack raft rail rain rake ram ranch rank rat ray razor recipe record reef relic remedy report rest reward
        rib riddle ride rifle rim riot ritual road robe robin rock rod roof room root rope route row rubbish rug
        rule rumour sail salt sand sandal sauce saw scale scandal scar scene scent scheme scholar science score
        scrap screen screw script seat secret seed sense sentence series sermon shade shape share shark shed
        shell shelter shield shirt shoe shore shoulder shovel shower side sign sink sister skill skin skirt sky
        slave sleeve slice slope smell smile smoke snail snake snow soap sock soil soldier son soul sound space
        spade spark spear speech spell spice spider spike spirit sponge spoon sport spot spray spring spy stage
        stain stair stamp steam stem step stick sting stitch stomach stool storm story stove straw stream street
        string stripe student study sugar suit sun surface surgeon surprise sweater sword symbol syrup system
        tail tale talent tank tap tape target task taste tax tea tear temple tenant term text thief thread
        throat throne thumb tide tie tile title toad toe tomb tongue tooth torch touch toy track trade tradition
        trail tray treaty tree trial tribe trick trip trophy truck truth tube tune turn twig twin uncle union
        valve van veil vein vessel victim view villain vine virus vision visit voice vote voyage wagon wall war
        wave wealth weapon web wedding week well whale wheat whip whistle wife will wind window wine wing wire
        wish witch witness woman word world worm wound wrist yard year zone""",
    "measure": """height depth width breadth thickness distance area angle slope temperature warmth brightness loudness
        strength weakness hardness softness sharpness roughness age lifetime birthday-year start end opening-hour
        duration pause waiting-time speed pace rhythm frequency pressure voltage current charge force energy effort
        income wage tax fee fare rent debt profit loss budget worth stock supply demand harvest yield output input
        import export population crowd-size attendance membership staff-number rank grade mark place-number score
        record rating reputation popularity votes share part ratio percentage average total rest remainder balance
        difference change growth decline increase loss-rate error risk danger safety quality freshness purity
        sweetness acidity saltiness moisture rainfall snowfall wind-speed humidity dose strength-level portion
        calories fat-content sugar-content weight-limit load-limit tonnage cargo-weight fuel-use range reach radius
        circumference diameter perimeter length-limit page-count word-count letter-count line-number volume-number
        floor-number seat-number room-count door-count window-count leg-count tooth-count wing-span leaf-size
        root-depth trunk-width tail-length shell-weight egg-count""",
    "superlative": """tallest shortest longest widest narrowest deepest shallowest heaviest lightest fastest slowest
        cheapest dearest warmest coldest hottest coolest loudest quietest richest poorest busiest calmest safest
        riskiest easiest steepest flattest thickest thinnest youngest highest lowest closest farthest cleanest
        dirtiest wettest driest fullest emptiest sweetest sourest saltiest hungriest bravest wisest proudest kindest
        simplest greenest palest largest tiniest grandest humblest broadest tightest loosest toughest purest
        greatest rudest gentlest happiest saddest laziest cleverest noisiest mildest wildest fairest strictest
        plainest prettiest ugliest dustiest sunniest windiest rainiest snowiest foggiest greasiest thirstiest
        healthiest sickest""",
}.items()}
